"""HTTP only: one file per resource."""
