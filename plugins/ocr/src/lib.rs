//! lucius-plugin-ocr
