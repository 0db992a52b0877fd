"""Types that pass between the layers. Imports none of our other folders."""
