"""How a network is trained beyond plain gradient descent: fine-tuning, ResRep."""
