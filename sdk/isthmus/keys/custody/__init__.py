"""What wraps the key of a keyring, other than a passphrase: OpenBao or Vault, a PKCS #11 token, AWS KMS."""
