"""`mcpgw doctor`: looks at what could keep a gateway from working, and says what to do."""
