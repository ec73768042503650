//! lucius-registry-dir
