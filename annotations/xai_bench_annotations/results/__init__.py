"""What readers said: the lock, consensus, agreement, and the regions that a study takes."""
