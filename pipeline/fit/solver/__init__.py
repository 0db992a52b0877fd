"""The objective of SKELify on keypoints, linearised and minimised: in compiled loops on the CPU, in torch on a GPU."""
