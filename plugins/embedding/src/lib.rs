//! lucius-plugin-embedding
