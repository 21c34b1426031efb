"""Documents as a person reads them."""
