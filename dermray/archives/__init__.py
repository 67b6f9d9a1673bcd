"""Archives read where they lie: a .zip, .tar, .tar.gz or .tgz stands in a path where a folder would."""
