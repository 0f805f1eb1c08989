"""The frozen Qwen3-VL, its poolings and the feature store."""
