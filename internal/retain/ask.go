package retain

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
)

// AskAudit makes an audit of a target's keys due now, with the audit entry of the context, and a look at its snapshots.
func (k *Keeper) AskAudit(ctx context.Context, target string) error {
	audits, err := k.Audits(ctx, target)
	if err != nil {
		return err
	}
	if len(audits) == 0 {
		return &keyturn.ConflictError{Reason: "target " + target + " has no KMIP server: write its address to spec.kmip, and apply it"}
	}
	if err := k.cfg.Store.AskKeyJob(ctx, target, keyturn.JobAudit); err != nil {
		return err
	}
	return k.AskSnapshots(ctx, target)
}

// AskSnapshots makes a look at a target's snapshots due now.
func (k *Keeper) AskSnapshots(ctx context.Context, target string) error {
	err := k.cfg.Store.AskKeyJob(keyturn.WithoutAudit(ctx), target, keyturn.JobSnapshots)
	k.Wake()
	return err
}

// Audits returns how the last audit of each target with a KMIP server ended, or of one target.
func (k *Keeper) Audits(ctx context.Context, target string) ([]keyturn.KeyAudit, error) {
	targets, err := k.cfg.Targets.Targets(ctx)
	if err != nil {
		return nil, err
	}
	kmip := make(map[string]bool, len(targets))
	found := false
	for _, t := range targets {
		kmip[t.Name] = t.KMIP != nil
		found = found || t.Name == target
	}
	if target != "" && !found {
		return nil, fmt.Errorf("target %s: %w", target, keyturn.ErrNotFound)
	}
	jobs, err := k.cfg.Store.KeyJobs(ctx, target, 0)
	if err != nil {
		return nil, err
	}
	audits := []keyturn.KeyAudit{}
	for _, job := range jobs {
		if job.Kind == keyturn.JobAudit && kmip[job.Target] {
			audits = append(audits, job.Audit())
		}
	}
	return audits, nil
}
