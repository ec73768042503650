//! lucius-step-sdk
