"""Let a virtual environment with a CPU torch import a torchvision that was built against CUDA.

Where package indexes offer only such a torchvision, its native library does not load, and then
`import torchvision` fails with "operator torchvision::nms does not exist"; timm and transformers import it.
Declaring the missing operators' schemas is enough for all pure-Python parts. The declaration must hold in
every process (Ray's and vLLM's workers), so it becomes an import hook of the environment, not of dermray.

torchaudio and torchcodec have the same defect, nothing here needs them, and transformers imports the first
where it finds it: they are uninstalled. Where torch and torchvision match, this script changes nothing.
"""

import importlib.util
import pathlib
import subprocess
import sys
import sysconfig

HOOK = '''"""Written by dermray's cluster/repair_torchvision.py: declares what a CUDA torchvision lacks here."""
import importlib.abc
import sys


class _DeclareOperators(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch

        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch._dermray_torchvision_library = library  # keeps the registration alive
        return None


sys.meta_path.insert(0, _DeclareOperators())
'''


def import_works(module: str) -> bool:
    """Whether a fresh interpreter can import `module`."""
    result = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False)
    return result.returncode == 0


def main() -> None:
    """Check, repair if needed, and say what was done."""
    broken = [
        name for name in ("torchaudio", "torchcodec") if importlib.util.find_spec(name) and not import_works(name)
    ]
    if broken:
        print(f"environment: uninstalling {', '.join(broken)}: built against another torch, and not needed")
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "-q", "-y", *broken], check=True)
    if import_works("torchvision"):
        print("environment: torchvision loads; nothing to repair")
        return
    site = pathlib.Path(sysconfig.get_paths()["purelib"])
    (site / "_dermray_torchvision_hook.py").write_text(HOOK)
    (site / "dermray_torchvision.pth").write_text("import _dermray_torchvision_hook\n")
    if not import_works("torchvision"):
        sys.exit("environment: torchvision does not load and declaring its operators did not help; reinstall both")
    print("environment: torchvision was built against another torch; its operators' schemas are now declared")


if __name__ == "__main__":
    main()
