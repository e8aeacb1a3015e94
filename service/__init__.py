"""The web API, and everything that the API and the workers share."""
