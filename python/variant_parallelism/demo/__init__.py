"""The demo: emulated boards classify real images together, die one by one, and come back."""
