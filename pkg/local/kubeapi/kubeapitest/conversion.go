package kubeapitest

import (
	"encoding/pem"
	"net/http/httptest"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
)

// Conversion runs a conversion webhook for the length of the test: the result is the spec.conversion of a
// CustomResourceDefinition. There is one function for each version that objects are converted to.
func Conversion(t testing.TB, to map[string]conversion.Convert) *apiextensionsv1.CustomResourceConversion {
	t.Helper()
	s := httptest.NewTLSServer(conversion.Handler(to))
	t.Cleanup(s.Close)
	return conversion.Webhook(apiextensionsv1.WebhookClientConfig{URL: ptr.To(s.URL)},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}
