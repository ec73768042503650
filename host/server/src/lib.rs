//! lucius-server
