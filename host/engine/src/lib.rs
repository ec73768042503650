//! lucius-engine
