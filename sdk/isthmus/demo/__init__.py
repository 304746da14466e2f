"""The demonstration that isthmus demo runs."""
