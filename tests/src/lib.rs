//! lucius-tests
