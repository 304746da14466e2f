"""Call the operations of other namespaces."""
