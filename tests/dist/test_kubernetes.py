"""dist/kubernetes: the manifests fit together, and a pod that is made of them serves: its ConfigMaps are laid out as the
kubelet does it, loom is started with the container's arguments, asked what the probes ask, and sees a ConfigMap change."""
import errno
import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

from common import BUILD, LOOM, SOURCE, main, said

os.environ["LOOM_BINARY"] = str(LOOM)
sys.path.insert(0, str(SOURCE / "tests" / "e2e"))
from server import IO_URING_SETUP, Server, deny, wait_for  # noqa: E402

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's python3-yaml, when another Python comes first
try:
    import yaml
except ImportError:
    yaml = None


@unittest.skipUnless(yaml or os.environ.get("LOOM_REQUIRE_CLIENTS"), "no python3-yaml")
class Manifests(unittest.TestCase):
    def setUp(self):
        self.assertTrue(yaml, "python3-yaml is missing (ci/setup test)")
        self.all = [one for path in sorted((SOURCE / "dist" / "kubernetes").glob("*.yaml"))
                    for one in yaml.safe_load_all(path.read_text(encoding="ascii"))]
        self.deployment = self.only("Deployment")
        self.pod = self.deployment["spec"]["template"]["spec"]
        self.container, = self.pod["containers"]
        self.maps = {one["metadata"]["name"]: one["data"] for one in self.all if one["kind"] == "ConfigMap"}

    def only(self, kind):
        found, = [one for one in self.all if one["kind"] == kind]
        return found

    def setting(self, name):
        value, = re.findall(rf"^{name} = (.*)$", self.maps["loom-config"]["loom.conf"], re.M)
        return value

    def port(self, name):
        found, = [port["containerPort"] for port in self.container["ports"] if port["name"] == name]
        return found

    def test_they_are_of_known_kinds(self):
        versions = {"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1"}
        self.assertEqual({one["kind"]: one["apiVersion"] for one in self.all}, versions)
        for one in self.all:
            self.assertRegex(one["metadata"]["name"], r"\A[a-z0-9-]{1,63}\Z")

    def test_labels_select_the_pods(self):
        labels = self.deployment["spec"]["template"]["metadata"]["labels"]
        for selector in (self.deployment["spec"]["selector"]["matchLabels"], self.only("Service")["spec"]["selector"],
                         self.only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]):
            self.assertEqual(selector, labels)
        self.assertLess(self.only("PodDisruptionBudget")["spec"]["minAvailable"], self.deployment["spec"]["replicas"])

    def test_volumes_are_there(self):
        volumes = {one["name"]: one for one in self.pod["volumes"]}
        self.assertEqual(sorted(volumes), sorted(mount["name"] for mount in self.container["volumeMounts"]))
        named = {one["configMap"]["name"] for one in volumes.values() if "configMap" in one}
        self.assertEqual(named, self.maps.keys())

    def test_ports_are_those_that_loom_listens_on(self):
        self.assertTrue(self.setting("listen").endswith(f":{self.port('http')}"))
        self.assertTrue(self.setting("metrics").endswith(f":{self.port('metrics')}"))
        self.assertEqual([port["targetPort"] for port in self.only("Service")["spec"]["ports"]], ["http"])
        annotations = self.deployment["spec"]["template"]["metadata"]["annotations"]
        self.assertEqual(annotations["prometheus.io/port"], str(self.port("metrics")))

    def test_probes_ask_for_what_is_answered(self):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(self.container[probe]["httpGet"], {"path": self.setting("health"), "port": "http"}, probe)

    def test_times_and_memory_fit_into_each_other(self):
        sleep = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertLess(sleep + int(self.setting("grace").removesuffix("s")), self.pod["terminationGracePeriodSeconds"])
        limit = int(self.container["resources"]["limits"]["memory"].removesuffix("Mi"))
        self.assertLessEqual(int(self.setting("max-memory").removesuffix("M")) * 2, limit)

    def test_it_is_ordinary(self):
        own, pods = self.container["securityContext"], self.pod["securityContext"]
        self.assertTrue(pods["runAsNonRoot"] and pods["runAsUser"] and own["readOnlyRootFilesystem"])
        self.assertFalse(own["allowPrivilegeEscalation"])
        self.assertEqual(own["capabilities"], {"drop": ["ALL"]})

    def test_the_image_is_the_containerfiles(self):
        text = (SOURCE / "Containerfile").read_text(encoding="ascii")
        version = {one["version"] for one in [json.loads(said("meson", "introspect", "--projectinfo", BUILD))]}
        self.assertEqual({self.container["image"]}, {f"loom:{one}" for one in version})
        self.assertIn(f"\nUSER {self.pod['securityContext']['runAsUser']}:{self.pod['securityContext']['runAsGroup']}\n", text)
        self.assertIn(f"\nEXPOSE {self.port('http')}\n", text)

    def mount(self, place, files):
        """As the kubelet writes a volume: links to ..data, which is a link to what is switched as a whole."""
        version = place / f"..{len(list(place.iterdir()))}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text, encoding="utf-8")
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")
        (place / "..data_tmp").symlink_to(version.name)
        (place / "..data_tmp").rename(place / "..data")

    def test_a_pod_serves_and_sees_its_site_change(self):
        scratch = tempfile.TemporaryDirectory(prefix="loom-pod-")
        self.addCleanup(scratch.cleanup)
        top = pathlib.Path(scratch.name)
        top.chmod(0o755)
        sources = {one["name"]: self.maps.get(one.get("configMap", {}).get("name"), {}) for one in self.pod["volumes"]}
        places = {}
        for mount in self.container["volumeMounts"]:
            place = places[mount["mountPath"]] = top / mount["name"]
            place.mkdir()
            files = sources[mount["name"]]
            if "loom.conf" in files:  # paths as they are here, and ports that are free
                text = files["loom.conf"].replace(self.setting("listen"), "127.0.0.1:0")
                text = text.replace(self.setting("metrics"), "127.0.0.1:0")
                for there in (each["mountPath"] for each in self.container["volumeMounts"]):
                    text = text.replace(f" {there}", f" {top}{there}").replace(f"unix:{there}", f"unix:{top}{there}")
                files = {**files, "loom.conf": text}
            self.mount(place, files)
        for there, place in places.items():
            (top / there.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (top / there.lstrip("/")).symlink_to(place)
        arguments = [word.replace("/etc/loom", f"{top}/etc/loom") for word in self.container["args"]]
        said(LOOM, *arguments, "--test")

        # RuntimeDefault, and Docker's profile: io_uring_setup(2) is answered by EPERM
        server = Server(f"{top}/srv/www", *arguments, listen=1, sockets=1, workers=0,
                        before_exec=lambda: deny(IO_URING_SETUP, errno.EPERM))
        self.addCleanup(server.discard)
        line, = [line for line in server.log().splitlines() if "io_uring" in line]
        self.assertRegex(line, r"epoll.*Operation not permitted.*seccomp")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(server.get(self.container[probe]["httpGet"]["path"]).status, 200)
        answer = server.get("/")
        self.assertEqual(answer.body.decode(), self.maps["loom-site"]["index.html"])
        before = answer["loom-snapshot"]
        self.mount(places["/srv/www"], {**self.maps["loom-site"], "index.html": "<!doctype html><title>new</title>"})
        wait_for(lambda: b"new" in server.get("/").body, "the new site")
        self.assertNotEqual(server.get("/")["loom-snapshot"], before)
        server.stop()


main()
