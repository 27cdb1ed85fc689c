package sqlite

import "context"

// Fill lets the file grow no more, as a full disk does.
func (s *Store) Fill(ctx context.Context) error {
	_, err := s.writer.exec(ctx, "PRAGMA max_page_count = 1")
	return err
}
