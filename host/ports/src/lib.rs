//! lucius-ports
