//! Reading many envelopes in one statement, whichever databases and tables of the SET they lie in.

use hongbao_core::EnvelopeId;
use hongbao_database::mysql::row::put_bytes;

use super::statements::Statements;
use super::store::MysqlStore;
use crate::StoreError;
use crate::many::ByDayTable;

impl MysqlStore {
    /// Those of these envelopes that are not read one by one.
    pub(super) fn hot(&self, ids: &[EnvelopeId]) -> ByDayTable {
        ByDayTable::new(self, ids.iter().copied().filter(|id| self.left_with(*id).is_none()))
    }

    /// The statement over all of these tables; empty if there are none. It is a text with literals, for its
    /// shape is another one each time.
    pub(super) fn together(
        &self,
        hot: &ByDayTable,
        head: impl Fn(&Statements) -> &str,
        tail: &str,
    ) -> Result<String, StoreError> {
        let mut text = String::new();
        for (table, ids) in &hot.tables {
            if !text.is_empty() {
                text.push_str(" UNION ALL ");
            }
            text.push_str(head(&*self.at(*table)?));
            for (number, id) in ids.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                put_bytes(&mut text, id.as_bytes());
            }
            text.push_str(tail);
        }
        Ok(text)
    }
}
