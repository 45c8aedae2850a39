package model

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// WriteOptions say how a client writes. The zero value is what [NewClient] makes.
type WriteOptions struct {
	// DryRun has the API server check what is written (schema, rules, rights) and return what would
	// come of it, but not store it.
	DryRun bool
	// Strict has the API server refuse fields that the definition does not know. Default: it drops
	// them.
	Strict bool
	// FieldManager is whom the API server's bookkeeping names. Default: the program.
	FieldManager string
}

// Writing returns a client that writes like that in Create, Update, Modify and CreateOrModify.
func (c *Client) Writing(options WriteOptions) *Client {
	return &Client{dynamic: c.dynamic, scheme: c.scheme, writes: options}
}

func (o WriteOptions) dryRun() []string {
	if !o.DryRun {
		return nil
	}
	return []string{metav1.DryRunAll}
}

func (o WriteOptions) validation() string {
	if !o.Strict {
		return ""
	}
	return metav1.FieldValidationStrict
}

func (o WriteOptions) create() metav1.CreateOptions {
	return metav1.CreateOptions{DryRun: o.dryRun(), FieldManager: o.FieldManager, FieldValidation: o.validation()}
}

func (o WriteOptions) patch() metav1.PatchOptions {
	return metav1.PatchOptions{DryRun: o.dryRun(), FieldManager: o.FieldManager, FieldValidation: o.validation()}
}
