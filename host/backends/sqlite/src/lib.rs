//! lucius-sqlite
