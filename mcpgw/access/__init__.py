"""Who is calling, and what that entitles to."""
