"""What the methods are built on: the data contract, base classes by kind of method, and the catalogue of methods."""
