//! lucius-platform
