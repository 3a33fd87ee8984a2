"""Writers of what the compiler produces."""
