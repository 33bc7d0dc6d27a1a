"""What a network does, made visible: endpoints and features, pictures of its structure."""
