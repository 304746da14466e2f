"""What the gateway does by itself: ends what is overdue, and takes back what lost workers held."""
