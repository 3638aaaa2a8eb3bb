package deploytest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const kubernetes = "../kubernetes"

// serviceMonitor and prometheusRule are the Prometheus operator's resources, as far as ours use them.
type serviceMonitor struct {
	metav1.TypeMeta
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	metav1.TypeMeta
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     ruleFile          `json:"spec"`
}

// object is a manifest of one of the kinds that we use.
func object(kind string) any {
	switch kind {
	case "ConfigMap":
		return &corev1.ConfigMap{}
	case "Secret":
		return &corev1.Secret{}
	case "Service":
		return &corev1.Service{}
	case "ServiceAccount":
		return &corev1.ServiceAccount{}
	case "PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	case "Deployment":
		return &appsv1.Deployment{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "ServiceMonitor":
		return &serviceMonitor{}
	case "PrometheusRule":
		return &prometheusRule{}
	}
	return nil
}

// decode reads the documents of a text. A field that the kind does not have, or has twice, is an error.
func decode(text string) (all []any, err error) {
	comments := regexp.MustCompile(`(?m)^#.*$`)
	for _, doc := range regexp.MustCompile(`(?m)^---\n`).Split(text, -1) {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, doc)
		}
		if strings.TrimSpace(comments.ReplaceAllString(doc, "")) == "" {
			continue
		}
		into := object(head.Kind)
		if into == nil {
			return nil, fmt.Errorf("unknown kind %q in:\n%s", head.Kind, doc)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			return nil, fmt.Errorf("%s: %w in:\n%s", head.Kind, err, doc)
		}
		all = append(all, into)
	}
	return all, nil
}

// TestManifests: each manifest is what its kind allows, and its pods are sound.
func TestManifests(t *testing.T) {
	files, _ := filepath.Glob(kubernetes + "/*.yaml")
	if len(files) < 4 {
		t.Fatalf("only %d manifests", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all, err := decode(string(text))
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, o := range all {
			if pod := podOf(o); pod != nil {
				soundPod(t, file, pod)
			}
		}
	}
	for _, wrong := range []string{
		"kind: Deployment\nspec: {template: {spec: {containers: [{name: a, securityContex: {}}]}}}",
		"kind: Job", "kind: Service\nspec: {}\nspec: {}",
	} {
		if _, err := decode(wrong); err == nil {
			t.Errorf("decoded without an error:\n%s", wrong)
		}
	}
}

// TestSidecarIsNative: it starts before the application and ends after it.
func TestSidecarIsNative(t *testing.T) {
	text, err := os.ReadFile(kubernetes + "/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	c := podOf(all[0]).Spec.InitContainers[0]
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Errorf("restartPolicy is %v", c.RestartPolicy)
	}
}

// podOf is the template of an object that makes pods.
func podOf(o any) *corev1.PodTemplateSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	}
	return nil
}

// relayOf is the container of mailwhy.
func relayOf(t *testing.T, pod *corev1.PodTemplateSpec) corev1.Container {
	t.Helper()
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == "mailwhy" {
			return c
		}
	}
	t.Fatal("no container is called mailwhy")
	return corev1.Container{}
}

// soundPod checks what the API server would not: probes at ports that exist, a locked container, time enough
// to stop, and a volume for the spool.
func soundPod(t *testing.T, file string, pod *corev1.PodTemplateSpec) {
	t.Helper()
	c := relayOf(t, pod)
	ports := map[string]bool{}
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	for path, probe := range map[string]*corev1.Probe{
		"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe,
	} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path ||
			!ports[probe.HTTPGet.Port.StrVal] {
			t.Errorf("%s: no probe of %s: %+v", file, path, probe)
		}
	}
	s := c.SecurityContext
	if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.Capabilities == nil ||
		len(s.Capabilities.Drop) != 1 || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
		t.Errorf("%s: the container is not locked: %+v", file, s)
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g == nil || *g < 30 {
		t.Errorf("%s: no time to stop: %v", file, g)
	}
	mounts := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = true
	}
	if !mounts["/spool"] {
		t.Errorf("%s: no volume at /spool", file)
	}
}

// TestManifestsInDocs: what docs/kubernetes.md shows is in the files that are tested, line by line.
func TestManifestsInDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []byte
	for _, pattern := range []string{
		kubernetes + "/*.yaml", chartDir + "/ci/*.yaml", chartDir + "/templates/*",
	} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, text...)
		}
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("the page shows no manifest")
	}
	for _, b := range blocks {
		if !bytes.Contains(files, b[1]) {
			t.Errorf("docs/kubernetes.md shows what is in no file:\n%s", b[1])
		}
	}
}
