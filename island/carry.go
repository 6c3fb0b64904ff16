package island

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
)

// ExportTrust writes all documents of trust of an island that is not running.
func ExportTrust(cfg *config.Config, w io.Writer) error {
	r, home, err := openStopped(cfg)
	if err != nil {
		return err
	}
	return errors.Join(exportTrust(r, home.Network(), w), r.Close())
}

// ImportTrust takes over what is valid and newer of a file that ExportTrust wrote
// elsewhere, on an island that is not running.
func ImportTrust(ctx context.Context, cfg *config.Config, file io.Reader) (control.ImportResult, error) {
	r, home, err := openStopped(cfg)
	if err != nil {
		return control.ImportResult{}, err
	}
	record := func(e trust.AuditEntry) error {
		e.Actor = cfg.Island.Name
		return recorder(cfg)(home.Network(), home.Node(), e)
	}
	res, err := importTrust(ctx, r, home.Network(), record, file)
	return res, errors.Join(err, r.Close())
}

// openStopped opens the documents of an island that is not running.
func openStopped(cfg *config.Config) (*replica.Replica, *trust.Home, error) {
	home, err := trust.OpenHome(meshDir(cfg.Island.DataDir))
	if err != nil {
		return nil, nil, err
	}
	if !home.Enrolled() {
		return nil, nil, control.ErrNotJoined
	}
	r, err := openSeed(cfg, replicaFile(cfg.Island.DataDir), home.Network())
	return r, home, err
}

func (i *Island) exportTrust(w io.Writer) error {
	m := i.membership.Load()
	if m == nil {
		return control.ErrNotJoined
	}
	return exportTrust(m.documents, m.home.Network(), w)
}

func (i *Island) importTrust(ctx context.Context, file io.Reader) (control.ImportResult, error) {
	m := i.membership.Load()
	if m == nil {
		return control.ImportResult{}, control.ErrNotJoined
	}
	record := func(e trust.AuditEntry) error { return m.record(m.labels()["island"], e.Action, e.Subject, e.Detail) }
	return importTrust(ctx, m.documents, m.home.Network(), record, file)
}

func exportTrust(r *replica.Replica, network trust.NetworkID, w io.Writer) error {
	docs, err := r.TrustHeld("")
	if err != nil {
		return err
	}
	return trust.WriteCarried(w, network, docs)
}

// mostRefused bounds how many refusals an import tells one by one.
const mostRefused = 1000

func importTrust(ctx context.Context, r *replica.Replica, network trust.NetworkID, record func(trust.AuditEntry) error, file io.Reader) (control.ImportResult, error) {
	res := control.ImportResult{}
	of, docs, err := trust.ReadCarried(file)
	if err != nil {
		return res, err
	}
	if of != network {
		return res, fmt.Errorf("import documents of trust: they are of network %s, this island is in %s", of.Short(), network.Short())
	}
	if err := record(trust.AuditEntry{Action: "import-trust", Subject: fmt.Sprintf("%d documents", len(docs))}); err != nil {
		return res, err
	}
	all, err := r.Import(ctx, docs)
	for _, one := range all {
		switch one.Outcome {
		case replica.Taken:
			res.Taken = append(res.Taken, one.Key)
		case replica.Known:
			res.Known++
		default:
			if res.Refused++; len(res.Reasons) < mostRefused && one.Err != nil {
				res.Reasons = append(res.Reasons, one.Err.Error())
			}
		}
	}
	return res, err
}
