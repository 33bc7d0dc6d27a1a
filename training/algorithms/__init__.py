"""How a network is trained beyond plain descent: fine-tuning, ResRep."""
