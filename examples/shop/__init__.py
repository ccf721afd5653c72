"""A small shop of three web apps whose every request gets a price: `python -m examples.shop`."""
