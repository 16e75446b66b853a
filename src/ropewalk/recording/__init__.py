"""Records of attempts: what each said and was told, kept so that it can be replayed."""
