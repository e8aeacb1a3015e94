"""What people say of videos: captions, files of them, and feedback on hits."""
