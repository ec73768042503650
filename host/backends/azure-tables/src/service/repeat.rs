//! Operations that may be done twice: of which it does not matter who did them, or when.

use http::StatusCode;

use super::{Error, Failed, Operation, Tables};

impl Tables {
    /// Does operations of one partition, at most a transaction's, and passes over insertions of what is there and
    /// deletions of what is gone. Tried again while the service does not answer.
    pub(crate) async fn each(
        &self,
        table: &str,
        mut operations: Vec<Operation>,
    ) -> Result<(), Error> {
        let mut tries = 0;
        while !operations.is_empty() {
            match self.transact(table, &operations).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failed)) => match done_before(&operations, &failed) {
                    Some(index) => drop(operations.remove(index)),
                    None => {
                        let Failed { status, code, .. } = failed;
                        return Err(Error::Refused(format!("{status} {code}")));
                    }
                },
                Err(error) => {
                    tries += 1;
                    self.again(tries, error).await?;
                }
            }
        }
        Ok(())
    }
}

/// The operation that failed, when that is because it was done before.
fn done_before(operations: &[Operation], failed: &Failed) -> Option<usize> {
    let index = failed.operation?;
    let expected = match operations.get(index)? {
        Operation::Insert(_) => StatusCode::CONFLICT,
        Operation::Delete(..) => StatusCode::NOT_FOUND,
        Operation::Replace(..) | Operation::Merge(..) => return None,
    };
    (failed.status == expected).then_some(index)
}
