"""OAuth 2.0: tokens, grants, and the sign-in of a user."""
