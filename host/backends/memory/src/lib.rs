//! lucius-memory
