// Package conversion answers the API when it asks for an object in another version. Programs that run on a cluster link it
// as well as tests.
package conversion

import (
	"encoding/json"
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Convert changes an object that is in another version. It need not set the apiVersion. An error is the reason why the
// object cannot be converted.
type Convert func(*unstructured.Unstructured) error

// Handler is a conversion webhook. There is one function for each version that objects are converted to.
func Handler(to map[string]Convert) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, fmt.Sprintf("expected a ConversionReview with a request: %v", err), http.StatusBadRequest)
			return
		}
		review.Response, review.Request = answer(review.Request, to), nil
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		_ = json.NewEncoder(w).Encode(review)
	})
}

// Webhook is the spec.conversion of a CustomResourceDefinition: it calls a [Handler] that has a certificate of this
// authority, in PEM.
func Webhook(at apiextensionsv1.WebhookClientConfig, authority []byte) *apiextensionsv1.CustomResourceConversion {
	at.CABundle = authority
	return &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"}, ClientConfig: &at},
	}
}

func answer(q *apiextensionsv1.ConversionRequest, to map[string]Convert) *apiextensionsv1.ConversionResponse {
	a := &apiextensionsv1.ConversionResponse{UID: q.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range q.Objects {
		object, err := converted(raw.Raw, q.DesiredAPIVersion, to)
		if err != nil {
			a.ConvertedObjects, a.Result = nil, metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
			break
		}
		a.ConvertedObjects = append(a.ConvertedObjects, runtime.RawExtension{Object: object})
	}
	return a
}

func converted(raw []byte, apiVersion string, to map[string]Convert) (*unstructured.Unstructured, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	convert := to[gv.Version]
	if convert == nil {
		return nil, fmt.Errorf("nothing converts to version %s", gv.Version)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	if err := convert(u); err != nil {
		return nil, err
	}
	u.SetAPIVersion(apiVersion)
	return u, nil
}
