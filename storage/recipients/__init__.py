"""Recipients, and the imports that add them."""
