"""Array operations used by this library, one implementation for each framework."""
