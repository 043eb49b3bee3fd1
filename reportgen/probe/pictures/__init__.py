"""Pictures of samples, kernels, feature maps, features and generated samples, small and within a budget."""
