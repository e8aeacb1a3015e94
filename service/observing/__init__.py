"""What people see of a running installation: figures, presence, what is served to Prometheus."""
