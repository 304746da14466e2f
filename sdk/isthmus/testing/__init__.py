"""An in-memory peer and fixtures for the tests of those who use Isthmus."""
