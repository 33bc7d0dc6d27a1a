"""Pictures of trained networks: filters, Grad-CAM, feature maps, similar images."""
