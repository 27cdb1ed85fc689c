package aws

import (
	"context"
	"errors"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

const (
	lookers  = 16             // keys that are looked at at once
	slack    = 24 * time.Hour // by which a key may seem older than its task; the tag decides
	pageMost = 1000           // keys of one page of ListKeys
)

// Find finds the key that was made for the order, by its tag. It changes nothing.
func (c *Client) Find(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, bool, error) {
	r, err := c.locate(order.Current)
	if err != nil {
		return keyturn.KMSKey{}, false, err
	}
	arn, found, err := c.find(ctx, r, order)
	if err != nil || !found {
		return keyturn.KMSKey{}, false, err
	}
	md, err := c.metadata(ctx, r, arn)
	if err != nil {
		return keyturn.KMSKey{}, false, err
	}
	return describe(md, order.Current.ID), true, nil
}

// find looks through the keys of the region. AWS can't be asked for keys with a tag, and lists ids only: the date
// of each key is asked for once in the life of this process, the tags of those that are not older than the task.
func (c *Client) find(ctx context.Context, r *region, order keyturn.KMSOrder) (arn string, found bool, err error) {
	if arn, ok := r.remembered(order.Task); ok {
		return arn, true, nil
	}
	s := search{c: c, r: r, task: order.Task.String(), since: order.Task.CreatedAt().Add(-slack)}
	pages := awskms.NewListKeysPaginator(r.api, &awskms.ListKeysInput{Limit: sdk.Int32(pageMost)})
	for pages.HasMorePages() {
		var page *awskms.ListKeysOutput
		err := c.do(ctx, r, call{doing: "looking for", what: "the key of task " + s.task, permission: "kms:ListKeys on *"}, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
			page, err = pages.NextPage(ctx, opts...)
			return err
		})
		if err != nil {
			return "", false, err
		}
		if err := s.page(ctx, page.Keys); err != nil {
			return "", false, err
		}
	}
	if s.arn == "" {
		return "", false, nil
	}
	r.remember(order.Task, s.arn)
	return s.arn, true, nil
}

// search is one look for a task's key.
type search struct {
	c     *Client
	r     *region
	task  string
	since time.Time

	mu   sync.Mutex
	arn  string // of the oldest that was found: the same each time
	born time.Time
}

func (s *search) page(ctx context.Context, keys []types.KeyListEntry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookers)
	for _, k := range keys {
		if born, known := s.r.bornAt(sdk.ToString(k.KeyId)); known && born.Before(s.since) {
			continue
		}
		group.Go(func() error {
			err := s.look(ctx, k)
			if se, ok := errors.AsType[*keyturn.SystemError](err); ok && (se.Code == kms.CodeDenied || se.Code == kms.CodeNotFound) {
				return nil // somebody else's, or gone: what we make has the policy of the key in use, which we can read
			}
			return err
		})
	}
	return group.Wait()
}

// look looks at one key, and keeps it if it is the task's.
func (s *search) look(ctx context.Context, k types.KeyListEntry) error {
	id := sdk.ToString(k.KeyId)
	born, known := s.r.bornAt(id)
	if !known {
		md, err := s.c.metadata(ctx, s.r, id)
		if err != nil {
			return err
		}
		switch {
		case md.KeyManager == types.KeyManagerTypeAws: // never ours: older than all tasks
		case md.CreationDate == nil: // unknown: its tags decide
			born = s.since
		default:
			born = *md.CreationDate
		}
		if md.CreationDate != nil {
			s.r.setBorn(id, born)
		}
	}
	if born.Before(s.since) {
		return nil
	}
	tags, err := s.c.tags(ctx, s.r, id)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if sdk.ToString(tag.TagKey) == kms.TagTask && sdk.ToString(tag.TagValue) == s.task {
			s.keep(sdk.ToString(k.KeyArn), id, born)
		}
	}
	return nil
}

func (s *search) keep(arn, id string, born time.Time) {
	if arn == "" {
		arn = id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arn == "" || born.Before(s.born) || born.Equal(s.born) && arn < s.arn {
		s.arn, s.born = arn, born
	}
}

func (r *region) bornAt(id string) (born time.Time, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	born, known = r.born[id]
	return born, known
}

func (r *region) setBorn(id string, born time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.born[id] = born
}

// tags reads the tags of a key.
func (c *Client) tags(ctx context.Context, r *region, id string) ([]types.Tag, error) {
	var tags []types.Tag
	pages := awskms.NewListResourceTagsPaginator(r.api, &awskms.ListResourceTagsInput{KeyId: sdk.String(id)})
	for pages.HasMorePages() {
		var page *awskms.ListResourceTagsOutput
		err := c.do(ctx, r, call{doing: "reading the tags of", what: "key " + id, permission: "kms:ListResourceTags"}, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
			page, err = pages.NextPage(ctx, opts...)
			return err
		})
		if err != nil {
			return nil, err
		}
		tags = append(tags, page.Tags...)
	}
	return tags, nil
}
