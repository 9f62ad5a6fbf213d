"""What the operator asked for: frozen values, validated once, passed down."""
