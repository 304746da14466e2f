"""What the use cases need of the world: protocols that the store and the server implement."""
