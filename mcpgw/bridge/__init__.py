"""What each era means to the other: message translation, as pure functions and tables."""
